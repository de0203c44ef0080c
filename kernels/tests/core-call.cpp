// The checks of an operation call: what each message says, and that nothing is enqueued; and files mapped read-only.
#include <atomic>
#include <cstdlib>
#include <thread>
#include <unistd.h>

#include "check.h"

namespace {

wl_stream on() {
  static wl_stream handle = [] {
    wl_stream made = 0;
    wl_stream_new(0, &made);
    return made;
  }();
  return handle;
}

/** A tensor that is freed at the end of the test. */
struct Made {
  wl_tensor handle = 0;
  Made(std::initializer_list<int64_t> shape, int dtype = WL_F32) {
    CHECK_EQUAL(wl_tensor_new(0, dtype, static_cast<int>(shape.size()), shape.begin(), "test", &handle), 0);
  }
  Made(const Made&) = delete;
  Made& operator=(const Made&) = delete;
  ~Made() { wl_tensor_free(handle); }
  operator wl_tensor() const { return handle; }
};

std::string refused(int kind) {
  CHECK_EQUAL(kind, WL_INVALID);
  return wl_last_error()->message;
}

}  // namespace

TEST("a size that disagrees names the symbol, both sizes and where the first came from") {
  const Made x({32, 192});
  const Made w({768, 3});
  const Made y({32, 768});
  CHECK_EQUAL(refused(wl_linear_forward(on(), x, w, 0, y, 16, 8)), "linear_forward: w is [768, 3] but K = 192 from x");
}

TEST("leading dims fold into rows, and disagree with other tensors as their product") {
  const Made x({4, 8, 192});
  const Made w({768, 192});
  const Made y({4, 7, 768});
  CHECK_EQUAL(refused(wl_linear_forward(on(), x, w, 0, y, 16, 8)), "linear_forward: y is [4, 7, 768] but M = 32 from x");
}

TEST("a tensor of too few dims is refused with the dims it needs") {
  const Made x({192});
  const Made w({768, 192});
  CHECK_EQUAL(refused(wl_linear_forward(on(), x, w, 0, w, 16, 8)), "linear_forward: x is [192], needs [...M, K]");
  const Made y({1, 768});
  const Made row({1, 192});
  const Made bias({1, 768});
  CHECK_EQUAL(refused(wl_linear_forward(on(), row, w, bias, y, 16, 8)), "linear_forward: bias is [1, 768], needs [N]");
}

TEST("a number of spans that no group of ranks has is refused") {
  const Made x({1, 32});
  const Made w({4, 32});
  const Made y({1, 4});
  CHECK_EQUAL(refused(wl_linear_forward(on(), x, w, 0, y, 16, 0)), "linear_forward: needs spans >= 1 (spans = 0)");
  CHECK_EQUAL(refused(wl_linear_forward(on(), x, w, 0, y, 16, 16)), "linear_forward: needs spans <= 8 (spans = 16)");
  CHECK_EQUAL(refused(wl_linear_forward(on(), x, w, 0, y, 16, 3)), "linear_forward: needs (spans & (spans - 1)) == 0 (spans = 3)");
}

TEST("a literal size is checked") {
  const Made x({10});
  const Made y({2});
  CHECK_EQUAL(refused(wl_sum(on(), x, y)), "sum: y is [2], needs [1]");
}

TEST("the wrong dtype, a missing tensor and a stale one are each named") {
  const Made ids({4});
  const Made w({10, 8});
  const Made y({4, 8});
  CHECK_EQUAL(refused(wl_embedding_forward(on(), ids, w, y, 0, 1)), "embedding_forward: ids is f32, needs i32");
  const Made good_ids({4}, WL_I32);
  CHECK_EQUAL(refused(wl_embedding_forward(on(), good_ids, 0, y, 0, 1)), "embedding_forward: w is missing");
  wl_tensor stale;
  {
    const Made gone({10, 8});
    stale = gone;
  }
  CHECK_EQUAL(refused(wl_embedding_forward(on(), good_ids, stale, y, 0, 1)),
              "embedding_forward: w is not a live tensor (handle " + std::to_string(stale) + ")");
}

TEST("an output may not overlap an input, unless the operation says so and they are one and the same") {
  const Made x({16});
  const int64_t half[] = {8};
  wl_tensor low = 0;
  wl_tensor middle = 0;
  wl_tensor_view(0, x, 0, 1, half, &low);
  wl_tensor_view(0, x, 4, 1, half, &middle);
  CHECK_EQUAL(refused(wl_copy(on(), x, x)), "copy: y overlaps x");
  CHECK_EQUAL(refused(wl_add(on(), low, low, middle)), "add: y overlaps a");
  wl_tensor_free(low);
  wl_tensor_free(middle);
}

TEST("bf16, and f32 that is read as bf16, go where an operation takes them, and nowhere else") {
  const Made x({4, 16});
  const Made half({4, 16}, WL_BF16);
  const Made ids({4}, WL_I32);
  const Made y({4, 16});
  const Made one({1});
  const int64_t shape[] = {4, 16};
  wl_tensor rounded = 0;
  CHECK_EQUAL(wl_tensor_view_rounded(0, x, 0, 2, shape, &rounded), WL_OK);
  CHECK_EQUAL(wl_copy(on(), x, half), WL_OK);
  CHECK_EQUAL(wl_copy(on(), half, y), WL_OK);
  CHECK_EQUAL(wl_copy(on(), rounded, y), WL_OK);
  CHECK_EQUAL(refused(wl_copy(on(), y, rounded)), "copy: y is f32 read as bf16, needs f32 or bf16");
  CHECK_EQUAL(refused(wl_copy(on(), ids, y)), "copy: x is i32, needs f32 or bf16");
  CHECK_EQUAL(refused(wl_sum(on(), half, one)), "sum: x is bf16, needs f32");
  CHECK_EQUAL(refused(wl_sum(on(), rounded, one)), "sum: x is f32 read as bf16, needs f32");
  wl_tensor of_half = 0;
  CHECK_EQUAL(refused(wl_tensor_view_rounded(0, half, 0, 2, shape, &of_half)), "tensor_view: base is bf16; only f32 is read as bf16");
  wl_tensor_info info;
  CHECK_EQUAL(wl_tensor_describe(half, &info), WL_OK);
  CHECK_EQUAL(info.bytes, 4 * 16 * 2);
  CHECK_EQUAL(wl_tensor_describe(rounded, &info), WL_OK);
  CHECK_EQUAL(info.bytes, 4 * 16 * 4);
  wl_tensor_free(rounded);
}

TEST("rows must be whole sequences, and heads must divide") {
  const Made q({12, 64});
  const Made kv({12, 32});
  const Made out({12, 64});
  const Made lse({12, 4});
  CHECK_EQUAL(refused(wl_attention_forward(on(), q, kv, kv, out, lse, 0, 5, 2, 1.0f, 0, 0)),
              "attention_forward: needs M % length == 0 (M = 12, length = 5)");
  CHECK_EQUAL(refused(wl_attention_forward(on(), q, kv, kv, out, lse, 0, 0, 2, 1.0f, 0, 0)), "attention_forward: needs length >= 1 (length = 0)");
  CHECK_EQUAL(refused(wl_attention_forward(on(), q, kv, kv, out, lse, 0, 6, 3, 1.0f, 0, 0)),
              "attention_forward: needs H % kv_heads == 0 (H = 4, kv_heads = 3)");
  CHECK_EQUAL(refused(wl_attention_forward(on(), q, kv, kv, out, lse, 0, 6, 1, 1.0f, 0, 0)),
              "attention_forward: needs Q / H == E / kv_heads (Q = 64, H = 4, E = 32, kv_heads = 1)");
}

TEST("lists must pair up by count and size") {
  const Made a({4});
  const Made b({2, 2});
  const Made c({5});
  const wl_tensor two[] = {a, b};
  const wl_tensor one[] = {a};
  const wl_tensor other[] = {a, c};
  const auto adamw = [](const wl_tensor* grads, int64_t count, const wl_tensor* params) {
    return wl_adamw(on(), params, 2, grads, count, params, 2, params, 2, 0, 1, 1e-3f, 0.9f, 0.95f, 1e-8f, 0, 1);
  };
  CHECK_EQUAL(refused(adamw(one, 1, two)), "adamw: grads has 1 tensors but params has 2");
  CHECK_EQUAL(refused(adamw(other, 2, two)), "adamw: grads[1] has 5 elements but params[1] has 4");
}

TEST("a stream that does not live is refused") {
  const Made x({4});
  CHECK_EQUAL(refused(wl_fill(12345, x, 1.0f)), "fill: 12345 is not a live stream");
}

TEST("a mapped file is read within its bounds only, and outlives its closing until streams are done with it") {
  char path[] = "/tmp/windlass-map-XXXXXX";
  const int file = mkstemp(path);
  const float values[] = {1, 2, 3, 4};
  CHECK_EQUAL(static_cast<int64_t>(write(file, values, sizeof values)), 16);
  close(file);
  wl_map map = 0;
  int64_t bytes = 0;
  CHECK_EQUAL(wl_map_open(0, path, &map, &bytes), 0);
  CHECK_EQUAL(bytes, 16);
  float two[2] = {};
  CHECK_EQUAL(wl_map_read(map, 4, 8, two), 0);
  CHECK_EQUAL(two[1], 3.0f);
  CHECK_EQUAL(refused(wl_map_read(map, 9, 8, two)), "map_read: 8 bytes at 9 are outside of the file of 16 bytes");
  CHECK_EQUAL(wl_map_read(map, INT64_MAX - 3, 8, two), WL_INVALID);
  CHECK_EQUAL(wl_map_read(map, -1, 4, two), WL_INVALID);
  const Made x({2});
  CHECK_EQUAL(refused(wl_write_from_map(on(), x, map, 0, 16)), "write_from_map: 16 bytes given, but tensor [2] of f32 has 8");
  CHECK_EQUAL(wl_write_from_map(on(), x, map, 8, 8), 0);
  CHECK_EQUAL(wl_map_close(map), 0);
  CHECK_EQUAL(wl_map_close(map), WL_INVALID);
  std::atomic<bool> done{false};
  wl_read(on(), x, two, sizeof two, [](void* user, const wl_error*) { static_cast<std::atomic<bool>*>(user)->store(true); }, &done);
  while (!done.load()) std::this_thread::yield();
  CHECK_EQUAL(two[0], 3.0f);
  CHECK_EQUAL(two[1], 4.0f);
  unlink(path);
  CHECK_EQUAL(refused(wl_map_open(0, "/nowhere/file", &map, &bytes)), "map_open: /nowhere/file: No such file or directory");
}

TEST_MAIN
