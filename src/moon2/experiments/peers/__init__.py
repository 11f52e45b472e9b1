"""What moon2 is compared with. A peer is trained by a function that is called as `moon2.train.train.train` is.

So it sees the same triplets, images, tokenizer and schedule: `moon2 moon2.experiments.peers.two_towers:train --data …`.
"""
