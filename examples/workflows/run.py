"""Three workflows: a group, a chain, a chord. Needs server.py and a worker; see README.md."""

import tasks
from tasks import (
    analyze_data,
    download_file,
    generate_report,
    process_file,
    resize_image,
    upload_result,
)

from celeriac import chord, group

server = tasks.SERVER

# A group: all at once, their results in the order of the images.
image_urls = [f"{server}/images/{number}.pgm" for number in range(1, 9)]
job = group(resize_image.s(url) for url in image_urls)
print("resized:", ", ".join(job.apply_async().get(timeout=60)))

# A chain: one after the other, each gets what the one before returned.
url = f"{server}/measurements.csv"
pipeline = download_file.s(url) | process_file.s() | upload_result.s()
result = pipeline.apply_async()
print("uploaded:", result.get(timeout=60).removeprefix(server))

# A chord: side by side, and then one that gets the list of all results.
data = list(range(1000))
chunks = [data[start : start + 100] for start in range(0, len(data), 100)]
callback = generate_report.s()
report = chord(analyze_data.s(chunk) for chunk in chunks)(callback)
print("report:", report.get(timeout=60))
