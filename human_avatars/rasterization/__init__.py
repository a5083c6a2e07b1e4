"""Pictures of 3D Gaussians: compiled on the CPU, gsplat on CUDA, and a readable reference."""
