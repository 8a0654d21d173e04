"""Choose a tokenizer for your data: measure a few on your own images, beside a codec at as many bits.

    python choose_tokenizer.py [IMAGES [SIZE [LIMIT]]]

IMAGES is what --data takes; without it, the embedded photos. LIMIT is how many are measured. Writes runs/.
"""

import sys

import tokbench

CANDIDATES = ("patch", "vqvae", "vqgan", "anchor/webp-320")
MOST_BITS = 2560


def main(images: str = "photos", size: str = "64", limit: str = "64") -> None:
    for name in CANDIDATES:
        evaluation = tokbench.run(name, images, size=int(size), limit=int(limit), metrics="lpips,psnr")
        tokbench.write_record(evaluation.record, evaluation.rows, "runs")

    table = tokbench.frame("runs").sort_values("lpips")
    print(table[["tokenizer", "bits_per_image", "lpips", "lpips_low", "lpips_high", "psnr"]].to_string(index=False))

    first, second = table[table["bits_per_image"] <= MOST_BITS].head(2).itertuples()
    print(f"within {MOST_BITS} bits an image, {first.tokenizer} is nearest by LPIPS")
    if first.lpips_high > second.lpips_low:
        print(f"its interval meets that of {second.tokenizer}: measure more images, or let tokbench diff judge them image by image")
    print("look at them side by side: tokbench report runs -o report.html --open")


if __name__ == "__main__":
    main(*sys.argv[1:])
