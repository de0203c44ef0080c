// Joins two network namespaces by a line on which each packet takes a while, for kernels without netem. Usage:
//   late-line DEVICE MILLISECONDS NAMESPACE NAMESPACE
// Says "ready" when both ends are there, and takes the line down when its standard input ends.
#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <sched.h>
#include <string>

#include "tests/line.h"

namespace {

int open_end_in(const char* name, const char* device) {
  const int home = open((std::string("/run/netns/") + name).c_str(), O_RDONLY | O_CLOEXEC);
  if (home < 0 || setns(home, CLONE_NEWNET) != 0) return -1;
  close(home);
  return line::open_end(device);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int ends[] = {open_end_in(argv[3], argv[1]), open_end_in(argv[4], argv[1])};
  if (ends[0] < 0 || ends[1] < 0) {
    std::perror("late-line");
    return 1;
  }
  line::Line between(ends[0], ends[1], 0, std::atoll(argv[2]));
  std::puts("ready");
  std::fflush(stdout);
  for (;;) {
    pollfd files[] = {{ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    poll(files, 3, between.is_empty() ? -1 : 1);
    if (files[2].revents != 0) return 0;
    between.carry();
  }
}
