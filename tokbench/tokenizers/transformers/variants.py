"""Variants: one a class of transformers, with the settings of the published model for files that come without a ``config.json``."""

from __future__ import annotations

from tokbench.tokenizers.family import Family, Variant
from tokbench.tokenizers.library.config import settings_of
from tokbench.tokenizers.transformers.config import ChameleonVQVAEConfig, Emu3VQVAEConfig, JanusVQVAEConfig

FAMILY = Family(
    name="transformers",
    summary="image tokenizers of the library transformers, alone or within their language model",
    model="tokbench.tokenizers.transformers.model:TransformersTokenizer",
    default="emu3",
    variants=(
        Variant(
            name="emu3",
            config=Emu3VQVAEConfig(
                settings_of(
                    {
                        "codebook_size": 32768,
                        "embed_dim": 4,
                        "latent_channels": 4,
                        "double_latent": False,
                        "in_channels": 3,
                        "out_channels": 3,
                        "temporal_downsample_factor": 4,
                        "base_channels": 256,
                        "channel_multiplier": (1, 2, 2, 4),
                        "num_res_blocks": 2,
                        "attn_resolutions": (3,),
                        "hidden_size": 1024,
                        "num_attention_heads": 1,
                    }
                )
            ),
            image_size=512,
            summary="any Emu3VQVAE, also within its language model",
            source="a folder of transformers, e.g. hf:Emu3-community/Emu3-Gen-hf",
            licence="its own (of the model given)",
        ),
        Variant(
            name="chameleon",
            config=ChameleonVQVAEConfig(
                settings_of(
                    {
                        "num_embeddings": 8192,
                        "embed_dim": 256,
                        "latent_channels": 256,
                        "double_latent": False,
                        "resolution": 512,
                        "in_channels": 3,
                        "base_channels": 128,
                        "channel_multiplier": (1, 1, 2, 2, 4),
                        "num_res_blocks": 2,
                        "attn_resolutions": None,
                        "attn_type": "vanilla",
                    }
                )
            ),
            image_size=512,
            summary="any ChameleonVQVAE, also within its language model; decodes if the weights have a decoder",
            source="a folder of transformers, e.g. hf:facebook/chameleon-7b, or Chameleon's own vqgan.ckpt",
            licence="its own (of the model given)",
        ),
        Variant(
            name="janus",
            config=JanusVQVAEConfig(
                settings_of(
                    {
                        "num_embeddings": 16384,
                        "embed_dim": 8,
                        "latent_channels": 256,
                        "double_latent": False,
                        "num_patches": 24,
                        "in_channels": 3,
                        "out_channels": 3,
                        "base_channels": 128,
                        "channel_multiplier": (1, 1, 2, 2, 4),
                        "num_res_blocks": 2,
                    }
                )
            ),
            image_size=384,
            summary="any JanusVQVAE, also within its language model; codes are the nearest, where those of janus/vq-16 are of the nearest direction",
            source="a folder of transformers, e.g. hf:deepseek-community/Janus-Pro-1B",
            licence="its own (of the model given)",
        ),
    ),
)
