// Who waits for the last words of this process.
#include "comm/farewell.h"

#include <utility>
#include <vector>

namespace wl::comm {
namespace {

int pending = 0;

std::vector<std::function<void()>>& waiting() {
  static auto* const list = new std::vector<std::function<void()>>;
  return *list;
}

}  // namespace

void Farewell::begin() { pending += 1; }

void Farewell::end() {
  if (--pending > 0) return;
  for (const std::function<void()>& over : std::exchange(waiting(), {})) over();
}

void Farewell::when_over(std::function<void()> over) {
  if (pending == 0) return over();
  waiting().push_back(std::move(over));
}

}  // namespace wl::comm
