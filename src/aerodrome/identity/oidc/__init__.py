"""OpenID Connect: people who sign in through an identity provider. Authlib makes requests, joserfc verifies tokens."""
