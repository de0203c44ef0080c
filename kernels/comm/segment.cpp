// Segments: anonymous files in memory, so nothing is left behind however a process ends.
#include "comm/segment.h"

#include <cerrno>
#include <fcntl.h>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wl::comm {
namespace {

// All rings of a rank together nearly fit a core's second-level cache. Smaller ones are full before ranks that share a core take turns.
constexpr int64_t kRingsBytes = int64_t{1} << 21;
constexpr int64_t kLeastRing = int64_t{1} << 16;
constexpr int64_t kMostRing = int64_t{1} << 19;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

int64_t ring_bytes_of(int size) {
  int64_t bytes = kMostRing;
  while (bytes > kLeastRing && bytes * (size - 1) > kRingsBytes) bytes /= 2;
  return bytes;
}

int64_t control_bytes(int size) {
  const int64_t bytes = static_cast<int64_t>(sizeof(Doorbell) + sizeof(RingControl) * static_cast<size_t>(size) * kChannels);
  return (bytes + 4095) / 4096 * 4096;
}

}  // namespace

Segment::Segment(int size)
    : size_(size), ring_bytes_(ring_bytes_of(size)), rings_(new char*[static_cast<size_t>(size) * kChannels]()) {}

std::shared_ptr<Segment> Segment::create(int size, int only_from) {
  std::shared_ptr<Segment> segment(new Segment(size));
  segment->fd_ = memfd_create("windlass", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (segment->fd_ < 0) return nullptr;
  const int64_t bytes = control_bytes(size) + segment->ring_bytes_ * size * kChannels;
  if (ftruncate(segment->fd_, bytes) != 0 || fcntl(segment->fd_, F_ADD_SEALS, kSeals) != 0) return nullptr;
  if (!segment->map(segment->fd_, only_from)) return nullptr;
  new (segment->control_) Doorbell;
  auto* controls = reinterpret_cast<RingControl*>(segment->control_ + sizeof(Doorbell));
  for (int i = 0; i < size * kChannels; ++i) new (controls + i) RingControl;
  return segment;
}

std::shared_ptr<Segment> Segment::attach(int fd, int size, int from) {
  std::shared_ptr<Segment> segment(new Segment(size));
  struct stat info;
  const bool whole = fstat(fd, &info) == 0 && info.st_size == control_bytes(size) + segment->ring_bytes_ * size * kChannels;
  // A file that can't shrink can't turn an access into a bus error.
  const int seals = fcntl(fd, F_GET_SEALS);
  if (!whole || seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    errno = EPROTO;
    return nullptr;
  }
  return segment->map(fd, from) ? segment : nullptr;
}

bool Segment::map(int fd, int only_from) {
  const int64_t controls = control_bytes(size_);
  void* control = mmap(nullptr, static_cast<size_t>(controls), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (control == MAP_FAILED) return false;
  control_ = static_cast<char*>(control);
  const size_t once = static_cast<size_t>(ring_bytes_);
  for (int at = 0; at < size_ * kChannels; ++at) {
    if (only_from >= 0 && at / kChannels != only_from) continue;
    void* reserved = mmap(nullptr, 2 * once, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) return false;
    rings_[static_cast<size_t>(at)] = static_cast<char*>(reserved);
    for (size_t half = 0; half < 2; ++half) {
      void* wanted = rings_[static_cast<size_t>(at)] + half * once;
      if (mmap(wanted, once, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, controls + ring_bytes_ * at) == MAP_FAILED) return false;
    }
  }
  return true;
}

Segment::~Segment() {
  for (int at = 0; at < size_ * kChannels; ++at) {
    if (rings_[static_cast<size_t>(at)] != nullptr) munmap(rings_[static_cast<size_t>(at)], static_cast<size_t>(2 * ring_bytes_));
  }
  if (control_ != nullptr) munmap(control_, static_cast<size_t>(control_bytes(size_)));
  close_file();
}

void Segment::close_file() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

RingMemory Segment::ring(Channel channel, int from) const {
  const int at = from * kChannels + static_cast<int>(channel);
  auto* controls = reinterpret_cast<RingControl*>(control_ + sizeof(Doorbell));
  return {controls + at, rings_[static_cast<size_t>(at)], static_cast<uint64_t>(ring_bytes_)};
}

}  // namespace wl::comm
