"""Tables, migrations, queries."""
