"""What a user can set: frozen dataclasses that declare every key of params.yaml once, with its bounds and meaning.

Nothing here imports a validator library, since training needs these types and not the validation of params.yaml, which
is in palimpsest.params.
"""
