"""Making the image of a build: from packages, by cloud-init, or from a file of the user's."""
