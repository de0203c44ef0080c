// The allocator, scratch memory and the tensor registry: alignment, reuse, limits, views, stale handles.
#include <random>

#include "check.h"
#include "core/memory.h"

namespace {

wl_memory stats() {
  wl_memory memory;
  wl_memory_stats(&memory);
  return memory;
}

wl_tensor tensor(int64_t count, const char* label = nullptr) {
  wl_tensor handle = 0;
  CHECK_EQUAL(wl_tensor_new(0, WL_F32, 1, &count, label, &handle), 0);
  return handle;
}

std::string last_message() { return wl_last_error()->message; }

}  // namespace

TEST("blocks are aligned to 64 bytes, large enough, and at most a half larger than asked for") {
  std::mt19937_64 random(1);
  for (int i = 0; i < 400; ++i) {
    const int64_t bytes = static_cast<int64_t>(random() % (int64_t{1} << (random() % 24)));
    const wl::Block block = wl::memory().allocate(bytes, wl::Use::now);
    CHECK(block.data != nullptr);
    CHECK_EQUAL(reinterpret_cast<uintptr_t>(block.data) % 64, 0u);
    CHECK(block.bytes >= bytes);
    CHECK(block.bytes <= bytes + bytes / 2 + 64);
    std::memset(block.data, 1, static_cast<size_t>(bytes));
    wl::memory().release(block);
  }
}

TEST("freed memory is used again without asking the operating system") {
  wl_tensor_free(tensor(300000));
  const wl_memory before = stats();
  for (int i = 0; i < 100; ++i) wl_tensor_free(tensor(300000 - i));
  CHECK_EQUAL(stats().system_allocations, before.system_allocations);
  CHECK_EQUAL(stats().live_bytes, before.live_bytes);
  CHECK_EQUAL(stats().live_tensors, before.live_tensors);
}

TEST("live bytes grow by a tensor and fall when it is freed; the peak stays") {
  const wl_memory before = stats();
  const wl_tensor large = tensor(4 << 20);
  CHECK_EQUAL(stats().live_bytes, before.live_bytes + (16 << 20));
  wl_tensor_free(large);
  CHECK_EQUAL(stats().live_bytes, before.live_bytes);
  CHECK(stats().peak_bytes >= before.live_bytes + (16 << 20));
}

TEST("the limit gives cached memory back first and refuses only then") {
  wl_tensor_free(tensor(2 << 20));
  wl_memory_trim();
  const int64_t limit = stats().system_bytes + (16 << 20);
  wl_memory_set_limit(limit);
  wl_tensor_free(tensor(3 << 20));
  const wl_tensor fits = tensor(4 << 20);
  const int64_t too_many = 1 << 20;
  wl_tensor refused = 0;
  CHECK_EQUAL(wl_tensor_new(0, WL_F32, 1, &too_many, nullptr, &refused), WL_RETRYABLE);
  CHECK_EQUAL(wl_last_error()->out_of_memory, 1);
  CHECK(last_message().starts_with("tensor_new: out of memory: 4194304 bytes wanted, "));
  CHECK(last_message().ends_with("the limit is " + std::to_string(limit)));
  wl_memory_set_limit(0);
  wl_tensor_free(fits);
  wl_tensor_free(tensor(too_many));
}

TEST("trimming gives large cached blocks back to the operating system") {
  wl_tensor_free(tensor(5 << 20));
  const wl_memory before = stats();
  wl_memory_trim();
  CHECK(stats().cached_bytes <= before.cached_bytes - (20 << 20));
  CHECK(stats().system_bytes <= before.system_bytes - (20 << 20));
}

TEST("scratch memory is aligned, separate for each request, and asks the system only until it has grown") {
  wl::Scratch scratch;
  wl_memory grown;
  for (int round = 0; round < 5; ++round) {
    char* a = static_cast<char*>(scratch.take(100));
    char* b = static_cast<char*>(scratch.take(3 << 20));
    char* c = static_cast<char*>(scratch.take(1));
    CHECK_EQUAL(reinterpret_cast<uintptr_t>(b) % 64, 0u);
    CHECK(a + 100 <= b || b + (3 << 20) <= a);
    CHECK(c != a && c != b);
    std::memset(b, 1, 3 << 20);
    scratch.reset();
    if (round == 1) grown = stats();
  }
  CHECK_EQUAL(stats().system_allocations, grown.system_allocations);
  CHECK_EQUAL(stats().live_bytes, grown.live_bytes);
}

TEST("a freed handle is refused, also after its slot holds another tensor") {
  const wl_tensor stale = tensor(10);
  CHECK_EQUAL(wl_tensor_free(stale), 0);
  CHECK_EQUAL(wl_tensor_free(stale), WL_INVALID);
  CHECK_EQUAL(last_message(), "tensor_free: handle " + std::to_string(stale) + " is not a live tensor; it was freed before");
  bool reused = false;
  for (int i = 0; i < 3000 && !reused; ++i) {
    const wl_tensor fresh = tensor(10);
    reused = (fresh & 0xfffff) == (stale & 0xfffff);
    CHECK(fresh != stale);
    if (reused) CHECK_EQUAL(wl_tensor_free(stale), WL_INVALID);
    wl_tensor_free(fresh);
  }
  CHECK(reused);
}

TEST("a view shares memory that lives until the last of them is freed") {
  const wl_memory before = stats();
  const wl_tensor base = tensor(1 << 20);
  const int64_t shape[] = {16, 1024};
  wl_tensor view = 0;
  CHECK_EQUAL(wl_tensor_view(0, base, 1000, 2, shape, &view), 0);
  wl_tensor_free(base);
  CHECK_EQUAL(stats().live_bytes, before.live_bytes + (4 << 20));
  wl_tensor_info info;
  CHECK_EQUAL(wl_tensor_describe(view, &info), 0);
  CHECK_EQUAL(info.is_view, 1);
  CHECK_EQUAL(info.shape[1], 1024);
  wl_tensor_free(view);
  CHECK_EQUAL(stats().live_bytes, before.live_bytes);
}

TEST("a view beyond the end of its base is refused with the range and the shape") {
  const wl_tensor base = tensor(100);
  const int64_t shape[] = {51};
  wl_tensor view = 0;
  CHECK_EQUAL(wl_tensor_view(0, base, 50, 1, shape, &view), WL_INVALID);
  CHECK_EQUAL(last_message(), "tensor_view: elements 50 to 101 are outside of base [100]");
  CHECK_EQUAL(wl_tensor_view(0, base, -1, 1, shape, &view), WL_INVALID);
  wl_tensor_free(base);
}

TEST("shapes with an empty dim, too many dims or too many elements are refused") {
  wl_tensor out = 0;
  const int64_t empty[] = {3, 0};
  CHECK_EQUAL(wl_tensor_new(0, WL_F32, 2, empty, nullptr, &out), WL_INVALID);
  CHECK_EQUAL(last_message(), "tensor_new: shape [3, 0] is out of range: up to 4 dims, each at least 1");
  const int64_t huge[] = {int64_t{1} << 40, int64_t{1} << 40, 1, 1, 1};
  CHECK_EQUAL(wl_tensor_new(0, WL_F32, 2, huge, nullptr, &out), WL_INVALID);
  CHECK_EQUAL(wl_tensor_new(0, WL_F32, 5, huge, nullptr, &out), WL_INVALID);
  CHECK_EQUAL(wl_tensor_new(0, 7, 1, huge, nullptr, &out), WL_INVALID);
  CHECK_EQUAL(last_message(), "tensor_new: there is no dtype 7");
}

TEST("the list of live tensors names what was not freed") {
  const wl_tensor kept = tensor(12, "forgotten");
  std::vector<wl_tensor_info> infos(static_cast<size_t>(wl_live_tensors(nullptr, 0)));
  CHECK_EQUAL(infos.size(), 1u);
  wl_live_tensors(infos.data(), static_cast<int64_t>(infos.size()));
  CHECK_EQUAL(std::string(infos[0].label), "forgotten");
  CHECK_EQUAL(infos[0].handle, kept);
  CHECK_EQUAL(infos[0].bytes, 48);
  wl_tensor_free(kept);
}

TEST("releasing an owner frees its tensors and nobody else's") {
  const wl_tensor other = tensor(5);
  const int64_t count = 7;
  wl_tensor mine = 0;
  wl_tensor_new(42, WL_I32, 1, &count, nullptr, &mine);
  wl_stream stream = 0;
  wl_stream_new(42, &stream);
  wl_release_owner(42);
  CHECK_EQUAL(wl_tensor_free(mine), WL_INVALID);
  CHECK_EQUAL(wl_stream_reset(stream), WL_INVALID);
  CHECK_EQUAL(wl_tensor_free(other), 0);
}

TEST_MAIN
