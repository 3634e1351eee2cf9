"""Downloads over HTTPS, checked and resumed, of no data set in particular."""
