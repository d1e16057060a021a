"""What tests share: builders of small inputs in the documented formats, imported as ``from support.… import …``."""
