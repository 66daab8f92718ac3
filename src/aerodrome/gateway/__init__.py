"""TLS reverse proxy in front of every environment's web server: sign-in, sessions, CLI bridge, forwarding."""
