// Two ranks in two network namespaces with a bad line between them: lost, late and swallowed packets. Progress or a named peer, never a deadlock.
#include <arpa/inet.h>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/if.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "check.h"
#include "comm-ranks.h"
#include "core/futex.h"
#include "line.h"

extern char** environ;

namespace {

using ranks::Outcome;
using ranks::Rank;

constexpr const char* kAddresses[] = {"10.99.0.1", "10.99.0.2"};
constexpr int kSkipped = 77;

/** A network of its own for this process, before it has threads. */
bool leave_network() { return unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0; }

void set_address(int by, const char* name, unsigned long what, const char* address) {
  ifreq request{};
  std::snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  sockaddr_in in{};
  in.sin_family = AF_INET;
  inet_pton(AF_INET, address, &in.sin_addr);
  std::memcpy(&request.ifr_addr, &in, sizeof in);
  CHECK_EQUAL(ioctl(by, what, &request), 0);
}

/** An end of the line, with this address. */
int open_end(const char* address) {
  const int end = line::open_end("line0");
  if (end < 0) return -1;
  const int by = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  set_address(by, "line0", SIOCSIFADDR, address);
  set_address(by, "line0", SIOCSIFNETMASK, "255.255.255.0");
  ifreq request{};
  std::snprintf(request.ifr_name, sizeof request.ifr_name, "line0");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  CHECK_EQUAL(ioctl(by, SIOCSIFFLAGS, &request), 0);
  close(by);
  return end;
}

void send_file(int over, int file, const char* text) {
  iovec part = {const_cast<char*>(text), std::strlen(text)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof file)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof file);
  std::memcpy(CMSG_DATA(header), &file, sizeof file);
  CHECK(sendmsg(over, &message, 0) > 0);
}

int receive_file(int over, char* text, size_t capacity) {
  iovec part = {text, capacity - 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(over, &message, MSG_CMSG_CLOEXEC);
  text[std::max<ssize_t>(got, 0)] = '\0';
  int file = -1;
  if (got > 0 && CMSG_FIRSTHDR(&message) != nullptr) std::memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof file);
  return file;
}

/** Carries packets between the ends while it lives. */
class Relay {
 public:
  Relay(int a, int b, int lost_percent, int64_t delay_ms) : ends_{a, b}, line_(a, b, lost_percent, delay_ms) {
    thread_ = std::thread([this] { carry(); });
  }
  ~Relay() {
    stop_ = true;
    thread_.join();
  }
  void swallow_everything() { line_.swallow_everything(); }

 private:
  void carry() {
    while (!stop_) {
      pollfd files[2] = {{ends_[0], POLLIN, 0}, {ends_[1], POLLIN, 0}};
      poll(files, 2, line_.is_empty() ? 20 : 1);
      line_.carry();
    }
  }

  const int ends_[2];
  line::Line line_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

wl_comm open_rank(wl_listener listener, int rank, const char* first, const char* second, int64_t deadline_ms) {
  const char* endpoints[] = {first, second};
  wl_comm comm = 0;
  const wl_comm_options options = {listener, rank, 2, endpoints, "far", 1, "secret", deadline_ms, WL_COMM_AUTO, 0};
  CHECK_EQUAL(wl_comm_open(0, &options, &comm), 0);
  return comm;
}

/** Rank 1, in a process and a network of its own: takes part until something fails. Exits with the reason, or 50 where it names another peer. */
int child_main(int over, int64_t deadline_ms) {
  const int end = leave_network() ? open_end(kAddresses[1]) : -1;
  if (end < 0 || wl_start() != WL_OK) return 60;
  wl_listener listener = 0;
  char own[WL_COMM_ENDPOINT];
  if (wl_comm_listen(0, kAddresses[1], 2, &listener, own) != WL_OK) return 61;
  send_file(over, end, own);
  char theirs[WL_COMM_ENDPOINT] = "";
  if (read(over, theirs, sizeof theirs - 1) <= 0) return 62;
  Rank self;
  self.rank = 1;
  self.comm = open_rank(listener, 1, theirs, own, deadline_ms);
  wl_stream_new(0, &self.stream);
  const wl_tensor x = self.floats(std::vector<float>(10000, 2.0f));
  for (;;) {
    wl_comm_all_reduce(self.stream, self.comm, x, x, WL_COMM_MAX, WL_COMM_OWN, "far");
    Outcome outcome;
    self.finish(outcome);
    if (!outcome.message.empty()) return outcome.peer == 0 ? outcome.reason : 50;
  }
}

/** Rank 0 and the line to rank 1. */
struct Pair {
  Rank self;
  pid_t child = 0;
  int near = -1;
  std::unique_ptr<Relay> relay;

  Pair(int lost_percent, int64_t delay_ms, int64_t deadline_ms) {
    int ends[2];
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    const std::string end = std::to_string(ends[1]);
    const std::string deadline = std::to_string(deadline_ms);
    static char program[] = "/proc/self/exe";
    static char flag[] = "--child";
    char* argv[] = {program, flag, const_cast<char*>(end.c_str()), const_cast<char*>(deadline.c_str()), nullptr};
    CHECK_EQUAL(posix_spawn(&child, program, nullptr, nullptr, argv, environ), 0);
    close(ends[1]);
    char own[WL_COMM_ENDPOINT];
    char theirs[WL_COMM_ENDPOINT];
    const int far = receive_file(ends[0], theirs, sizeof theirs);
    near = open_end(kAddresses[0]);
    relay = std::make_unique<Relay>(near, far, lost_percent, delay_ms);
    far_ = far;
    CHECK_EQUAL(wl_comm_listen(0, kAddresses[0], 2, &self.listener, own), 0);
    CHECK(write(ends[0], own, std::strlen(own)) > 0);
    close(ends[0]);
    self.comm = open_rank(self.listener, 0, own, theirs, deadline_ms);
    CHECK_EQUAL(wl_stream_new(0, &self.stream), 0);
  }
  ~Pair() {
    if (child != 0) end();
    for (const wl_tensor tensor : self.tensors) wl_tensor_free(tensor);
    wl_comm_free(self.comm);
    wl_comm_close_listener(self.listener);
    wl_stream_free(self.stream);
    relay = nullptr;
    close(near);
    close(far_);
  }
  int wait() {
    int status = 0;
    waitpid(child, &status, 0);
    child = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void end() {
    kill(child, SIGKILL);
    wait();
  }
  /** All-reduces that must succeed. */
  void steps(int count) {
    for (int step = 0; step < count; ++step) {
      const wl_tensor x = self.floats(std::vector<float>(10000, static_cast<float>(step)));
      wl_comm_all_reduce(self.stream, self.comm, x, x, WL_COMM_MAX, WL_COMM_OWN, "near");
      CHECK_EQUAL(self.first(x, 10000), std::max(2.0f, static_cast<float>(step)));
    }
  }

 private:
  int far_ = -1;
};

}  // namespace

TEST("a line that loses every tenth packet only takes longer") {
  Pair pair(10, 0, 30000);
  pair.steps(3);
}

TEST("a line with 200 ms of delay in each direction only takes longer") {
  Pair pair(0, 200, 30000);
  pair.steps(3);
}

TEST("a line that swallows everything ends the operation on both sides within the deadline and five seconds, each naming the other") {
  Pair pair(0, 0, 8000);
  pair.steps(2);
  pair.relay->swallow_everything();
  const int64_t begin = wl::nanoseconds();
  const wl_tensor x = pair.self.floats(std::vector<float>(10000, 1.0f));
  wl_comm_all_reduce(pair.self.stream, pair.self.comm, x, x, WL_COMM_MAX, WL_COMM_OWN, "near");
  wl_comm_all_reduce(pair.self.stream, pair.self.comm, x, x, WL_COMM_MAX, WL_COMM_OWN, "near");
  Outcome outcome;
  pair.self.finish(outcome);
  CHECK_EQUAL(outcome.reason, WL_COMM_TIMEOUT);
  CHECK_EQUAL(outcome.peer, 1);
  CHECK_EQUAL(pair.wait(), WL_COMM_TIMEOUT);
  CHECK(wl::nanoseconds() - begin < int64_t{8 + 5} * 1000000000);
}

int main(int argc, char** argv) {
  if (argc > 3 && std::string(argv[1]) == "--child") return child_main(std::atoi(argv[2]), std::atoll(argv[3]));
  if (!leave_network() || access("/dev/net/tun", R_OK | W_OK) != 0) {
    std::printf("network namespaces or tunnel devices can't be had here: %s\n", std::strerror(errno));
    return kSkipped;
  }
  return check::main_of(argc, argv);
}
