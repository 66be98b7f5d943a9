"""Making the image of a build: from packages, by cloud-init, or from files of the user's."""
