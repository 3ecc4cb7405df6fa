"""What we do about each event: `needs` names the facts, `decide` answers."""
