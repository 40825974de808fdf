"""What goes wrong on purpose: crashes, kills, faults of the store, full disks; and what must hold afterwards."""
