"""RAE: frozen encoders that understand images, with a decoder that draws their features."""
