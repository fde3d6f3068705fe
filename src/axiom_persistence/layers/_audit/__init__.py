"""The parts of the layer that keeps an audit trail."""
