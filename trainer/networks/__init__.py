"""Networks: a crystal graph in, a spectrum out."""
