// Tensors over mapped files: read where they lie, never written, and theirs until the last of them is freed.
#include <cstdlib>
#include <string>
#include <unistd.h>

#include "outcome.h"

namespace {

constexpr int64_t kCount = 100'000;

float value_at(int64_t at) { return static_cast<float>(at) / 8; }

/** A mapping of a file of kCount values, which is removed at once. */
wl_map mapped() {
  char path[] = "/tmp/wl-core-map-XXXXXX";
  const int file = mkstemp(path);
  std::vector<float> values(kCount);
  for (int64_t i = 0; i < kCount; ++i) values[static_cast<size_t>(i)] = value_at(i);
  CHECK_EQUAL(write(file, values.data(), values.size() * 4), static_cast<ssize_t>(values.size() * 4));
  close(file);
  wl_map map = 0;
  int64_t bytes = 0;
  CHECK_EQUAL(wl_map_open(0, path, &map, &bytes), 0);
  CHECK_EQUAL(bytes, kCount * 4);
  unlink(path);
  return map;
}

/** Whether a mapping of the removed file is left in this process. */
bool is_mapped() {
  FILE* maps = fopen("/proc/self/maps", "r");
  char line[512];
  bool found = false;
  while (fgets(line, sizeof line, maps) != nullptr) found = found || std::string(line).find("wl-core-map-") != std::string::npos;
  fclose(maps);
  return found;
}

std::string refusal(int kind) {
  CHECK_EQUAL(kind, WL_INVALID);
  return wl_last_error()->message;
}

}  // namespace

TEST("tensors over a mapping read what is in the file, on several streams, after it was closed and until the last is freed") {
  const wl_map map = mapped();
  const int64_t count = 1000;
  wl_tensor first = 0;
  wl_tensor second = 0;
  CHECK_EQUAL(wl_map_tensor(0, map, 0, WL_F32, 1, &count, "first", &first), 0);
  CHECK_EQUAL(wl_map_tensor(0, map, 6400, WL_F32, 1, &count, "second", &second), 0);
  CHECK_EQUAL(wl_map_close(map), 0);
  const wl_stream streams[] = {stream(), stream()};
  for (const wl_stream on : streams) {
    CHECK_EQUAL(values_of(on, first, count).back(), value_at(count - 1));
    CHECK_EQUAL(values_of(on, second, count).front(), value_at(1600));
  }
  wl_tensor_free(first);
  CHECK(is_mapped());
  wl_tensor view = 0;
  const int64_t part = 16;
  CHECK_EQUAL(wl_tensor_view(0, second, 32, 1, &part, &view), 0);
  wl_tensor_free(second);
  CHECK_EQUAL(values_of(streams[0], view, 16).front(), value_at(1632));
  wl_tensor_free(view);
  // Another stream may have used it: it is given back by a later call, once both have gone on.
  for (int tries = 0; tries < 10'000 && is_mapped(); ++tries) {
    wl_tensor other = 0;
    CHECK_EQUAL(wl_tensor_new(0, WL_F32, 1, &part, nullptr, &other), 0);
    values_of(streams[tries % 2], other, 16);
    wl_tensor_free(other);
  }
  CHECK(!is_mapped());
  for (const wl_stream on : streams) wl_stream_free(on);
}

TEST("what is mapped from a file is not written by operations or copies") {
  const wl_map map = mapped();
  const wl_stream on = stream();
  const int64_t count = 16;
  wl_tensor lent = 0;
  CHECK_EQUAL(wl_map_tensor(0, map, 64, WL_F32, 1, &count, nullptr, &lent), 0);
  float values[16] = {};
  const std::string copied = " is mapped from a file and can't be written";
  CHECK_EQUAL(refusal(wl_write(on, lent, values, sizeof values)), "write: tensor" + copied);
  CHECK_EQUAL(refusal(wl_write_from_map(on, lent, map, 0, sizeof values)), "write_from_map: tensor" + copied);
  CHECK_EQUAL(refusal(wl_fill(on, lent, 1)), "fill: x" + copied);
  double sum = 0;
  Outcome outcome;
  CHECK_EQUAL(refusal(wl_read_file(on, lent, 0, 0, &sum, Outcome::settle, &outcome)), "read_file: tensor" + copied);
  CHECK_EQUAL(values_of(on, lent, 16).front(), value_at(16));
  wl_tensor_free(lent);
  wl_map_close(map);
  wl_stream_free(on);
}

TEST("places outside of the file, between lines of 64 bytes and impossible shapes are refused") {
  const wl_map map = mapped();
  wl_tensor out = 0;
  const int64_t all = kCount;
  const int64_t none = 0;
  CHECK_EQUAL(refusal(wl_map_tensor(0, map, 64, WL_F32, 1, &all, nullptr, &out)),
              std::string("map_tensor: 400000 bytes at 64 are outside of the file of 400000 bytes"));
  CHECK_EQUAL(refusal(wl_map_tensor(0, map, 32, WL_U8, 1, &all, nullptr, &out)), std::string("map_tensor: offset 32 is no multiple of 64"));
  CHECK_EQUAL(refusal(wl_map_tensor(0, map, 0, WL_F32, 1, &none, nullptr, &out)), std::string("map_tensor: there is no tensor of dtype 0 and shape [0]"));
  CHECK_EQUAL(refusal(wl_map_tensor(0, map, 0, 7, 1, &all, nullptr, &out)), std::string("map_tensor: there is no tensor of dtype 7 and shape [100000]"));
  wl_map_close(map);
  CHECK_EQUAL(wl_map_tensor(0, map, 0, WL_F32, 1, &all, nullptr, &out), WL_INVALID);
}

TEST_MAIN
