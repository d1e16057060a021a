"""What several processes that train together need: their group, and weights sharded over them."""
