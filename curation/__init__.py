"""The data room: pictures in, described and reviewed regions out."""
