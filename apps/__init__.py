"""Two example apps to run under the supervisor: the admin page, and a coach's teams."""
