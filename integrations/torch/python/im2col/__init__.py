"""The convolution layer on CPUs, written in Rust.

- ``im2col.torch``: PyTorch's convolutions on these kernels, with one line: ``import im2col.torch; im2col.torch.enable()``
- ``im2col.conv1d``, ``conv2d``, ``conv3d`` and their gradients: over numpy arrays, without copies

Neither PyTorch nor numpy is imported before it is used.
"""
