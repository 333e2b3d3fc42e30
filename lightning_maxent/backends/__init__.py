"""How runs are carried out: what a run is, and where its process executes."""
