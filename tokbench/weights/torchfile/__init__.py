"""Files of ``torch.save``, opened without running, importing or believing anything of theirs.

zip archive ---- archive.py --|-- data.pkl --> machine.py --> plain containers of tensors
                              |-- data/0, 1, ... --> tensors.py --^
older stream of pickles and bytes -- legacy.py ---^
"""
