"""The results in other formats: JUnit, Allure, a job's summary."""
