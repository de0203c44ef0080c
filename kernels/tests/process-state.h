// What a test may leave behind in its process, and how it waits for that to go.
#pragma once

#include <dirent.h>
#include <fstream>
#include <string>
#include <thread>

#include "core/futex.h"

namespace state {

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
inline double seconds() { return static_cast<double>(wl::nanoseconds()) / 1e9; }

inline int entries_of(const char* folder) {
  int count = 0;
  DIR* open = opendir(folder);
  while (readdir(open) != nullptr) count += 1;
  closedir(open);
  return count;
}

inline int mappings() {
  std::ifstream file("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(file, line);) {
    if (contains(line, "windlass")) count += 1;
  }
  return count;
}

/** Waits until condition() holds; false where it does not within 10 s. */
template <class Condition>
bool within_deadline(Condition condition) {
  const double end = seconds() + 10;
  while (!condition()) {
    if (seconds() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace state
