"""Brain DSC-MRI to CBV maps with neural networks. Research use only."""

__version__ = "0.1.0"
