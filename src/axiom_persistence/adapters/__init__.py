"""Places: each adapter keeps bytes under string keys somewhere."""
