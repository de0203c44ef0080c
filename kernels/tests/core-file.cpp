// Reading of files into tensors, and checksums of memory and tensors: values, ends, errors that stay with their call.
#include <cmath>
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

#include "outcome.h"
#include "core/crc32.h"

namespace {

wl_tensor tensor(int64_t count) {
  wl_tensor handle = 0;
  CHECK_EQUAL(wl_tensor_new(0, WL_F32, 1, &count, nullptr, &handle), 0);
  return handle;
}

std::vector<float> ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i) / 8;
  return values;
}

/** An open file without a name that holds the values. */
int file_of(const std::vector<float>& values) {
  char path[] = "/tmp/wl-core-file-XXXXXX";
  const int file = mkstemp(path);
  unlink(path);
  CHECK_EQUAL(write(file, values.data(), values.size() * 4), static_cast<ssize_t>(values.size() * 4));
  return file;
}

constexpr size_t kCount = 300'001;

}  // namespace

TEST("streams read parts of one file at the same time, each with its own sum, though the file is closed at once") {
  const std::vector<float> values = ramp(4 * kCount);
  const int file = file_of(values);
  wl_stream streams[4];
  wl_tensor tensors[4];
  Outcome outcomes[4];
  for (size_t i = 0; i < 4; ++i) {
    streams[i] = stream();
    tensors[i] = tensor(kCount);
    const auto position = static_cast<int64_t>(i * kCount * 4);
    CHECK_EQUAL(wl_read_file(streams[i], tensors[i], file, position, &outcomes[i].value, Outcome::settle, &outcomes[i]), 0);
  }
  close(file);
  for (size_t i = 0; i < 4; ++i) {
    outcomes[i].wait();
    const std::vector<float> part(values.begin() + static_cast<long>(i * kCount), values.begin() + static_cast<long>((i + 1) * kCount));
    CHECK_EQUAL(outcomes[i].error, std::string());
    CHECK_EQUAL(outcomes[i].value, static_cast<double>(wl::crc32(0, part.data(), kCount * 4)));
    CHECK(values_of(streams[i], tensors[i], kCount) == part);
    wl_tensor_free(tensors[i]);
    wl_stream_free(streams[i]);
  }
}

TEST("a file that ends before is told from a sum, and one that can not be read leaves the stream as it was") {
  const wl_stream on = stream();
  const wl_tensor x = tensor(8);
  const int file = file_of(ramp(7));
  const int folder = open("/tmp", O_RDONLY | O_DIRECTORY);
  Outcome cut;
  Outcome refused;
  CHECK_EQUAL(wl_read_file(on, x, file, 0, &cut.value, Outcome::settle, &cut), 0);
  CHECK_EQUAL(wl_read_file(on, x, folder, 0, &refused.value, Outcome::settle, &refused), 0);
  cut.wait();
  refused.wait();
  CHECK_EQUAL(cut.value, -1.0);
  CHECK_EQUAL(cut.error, std::string());
  CHECK_EQUAL(refused.error, std::string("read_file: 32 bytes at 0: Is a directory"));
  CHECK_EQUAL(values_of(on, x, 8).size(), 8u);
  Outcome none;
  CHECK_EQUAL(wl_read_file(on, x, -1, 0, &none.value, Outcome::settle, &none), WL_INVALID);
  CHECK_EQUAL(std::string(wl_last_error()->message), std::string("read_file: file -1: Bad file descriptor"));
  for (const int open : {file, folder}) close(open);
  wl_tensor_free(x);
  wl_stream_free(on);
}

TEST("values that are not finite are found wherever they are, and only where they are asked about") {
  const wl_stream on = stream();
  std::vector<float> values = ramp(kCount);
  const auto sum = [&](int finite) {
    Outcome outcome;
    CHECK_EQUAL(wl_checksum(on, values.data(), static_cast<int64_t>(kCount) * 4, finite, &outcome.value, Outcome::settle, &outcome), 0);
    outcome.wait();
    return outcome.value;
  };
  const double good = sum(1);
  CHECK_EQUAL(good, static_cast<double>(wl::crc32(0, values.data(), kCount * 4)));
  for (const size_t at : {size_t{0}, size_t{65'535}, size_t{65'536}, kCount - 1}) {
    for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
      const float before = values[at];
      values[at] = bad;
      CHECK_EQUAL(sum(1), -1.0);
      CHECK_EQUAL(sum(0), static_cast<double>(wl::crc32(0, values.data(), kCount * 4)));
      values[at] = before;
    }
  }
  values[7] = -3.4028235e38F;
  CHECK(sum(1) >= 0);
  wl_stream_free(on);
}

TEST("a digest is of all bits of all tensors, in their order") {
  const wl_stream on = stream();
  std::vector<float> values = ramp(kCount);
  const wl_tensor tensors[] = {tensor(kCount), tensor(kCount)};
  const auto digest_with = [&](size_t which, const std::vector<float>& content) {
    CHECK_EQUAL(wl_write(on, tensors[which], content.data(), static_cast<int64_t>(kCount) * 4), 0);
    Outcome outcome;
    CHECK_EQUAL(wl_digest(on, tensors, 2, &outcome.value, Outcome::settle, &outcome), 0);
    outcome.wait();
    return outcome.value;
  };
  digest_with(0, values);
  const double good = digest_with(1, std::vector<float>(kCount, 1));
  for (const size_t at : {size_t{0}, size_t{262'143}, size_t{262'144}, kCount - 1}) {
    std::vector<float> spoiled = values;
    spoiled[at] = std::nextafterf(spoiled[at], 1e9F);
    CHECK(digest_with(0, spoiled) != good);
    CHECK_EQUAL(digest_with(0, values), good);
  }
  digest_with(0, std::vector<float>(kCount, 1));
  CHECK(digest_with(1, values) != good);
  for (const wl_tensor each : tensors) wl_tensor_free(each);
  wl_stream_free(on);
}

TEST_MAIN
