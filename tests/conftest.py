from hypothesis import settings

# How long an example takes is said by the machine's load, not by the code.
settings.register_profile("any-laptop", deadline=None)
settings.load_profile("any-laptop")
