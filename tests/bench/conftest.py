"""Small pictures and observations for the bench's tests."""

import pytest
import torch

from tokbench.bench.observation import Again, Listing, Observation
from tokbench.tokens import DiscreteTokens


@pytest.fixture
def observe():
    """Build an observation of given bytes; codes are the reference's top bits."""

    numbered = [f"{i:03d}" for i in range(100)]
    run = Listing(tuple(numbered), tuple(name[:2] for name in numbered))

    def make(reference, reconstruction, ids=None):
        ids = tuple(ids if ids is not None else numbered[: len(reference)])
        listing = run if set(ids) <= set(run.ids) else Listing(ids, tuple(name[:2] for name in ids))
        height, width = reference.shape[2:]

        def tokens(images):
            codes = (images[:, :1] // 64).to(torch.int64).flatten(2).transpose(1, 2)
            return DiscreteTokens(codes.contiguous(), (height, width), (4,))

        return Observation(
            listing=listing,
            places=listing.places(ids),
            keys=tuple(name.encode().ljust(32, b"\0") for name in ids),
            reference=reference,
            reconstruction=reconstruction,
            tokens=tokens(reference),
            reencode=lambda: Again(again := tokens(reconstruction), lambda: again),
        )

    return make


@pytest.fixture
def inception_file():
    """Write a stand-in of the published file of Inception: random weights under its own names."""
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    def write(folder):
        torch.manual_seed(0)
        path = folder / "pt_inception.pth"
        original = extractor.FeatureExtractorInceptionV3.load_state_dict
        captured = {}

        def keep(self, state, *args, **kwargs):
            captured.update(self.state_dict())

        extractor.FeatureExtractorInceptionV3.load_state_dict = keep
        try:
            torch.save({}, path)
            model = extractor.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(path))
        finally:
            extractor.FeatureExtractorInceptionV3.load_state_dict = original
        torch.save(dict(captured), path)
        return path, model

    return write


@pytest.fixture(scope="session")
def lively_inception(tmp_path_factory):
    """A stand-in whose features differ from image to image: path of its file, and torch-fidelity's own network with its weights."""
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    torch.manual_seed(0)
    torch.save({}, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extractor.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state, *args, **kwargs: None)
        model = extractor.FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path))
    for name, value in model.state_dict().items():
        if name.endswith("conv.weight"):
            torch.nn.init.kaiming_normal_(value)
    torch.save(model.state_dict(), path)
    return path, model.eval()
