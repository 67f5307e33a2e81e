"""Two small Flask apps to run under the supervisor: the admin's page and a coach's page."""
