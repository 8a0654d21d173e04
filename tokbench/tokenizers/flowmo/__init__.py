"""FlowMo: a transformer encoder to a sequence of binary codes and a rectified-flow decoder."""
