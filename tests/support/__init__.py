"""What tests share: worlds, programs, planted bugs."""
