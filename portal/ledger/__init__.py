"""The ground floor: who may do what, the one way to change a state, and the record of it that nobody can rewrite."""
