"""render: from a specification to finished videos, exactly once."""
