"""The durable shell: accepts deliveries and performs effects."""
