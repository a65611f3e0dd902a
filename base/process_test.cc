// What base/process promises, shown with the programs every Linux has.
#include "base/process.h"

#include <array>
#include <filesystem>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/pidfd.h"

namespace base {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

// Whether we have a child, running or a zombie.
bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

// Waits until a process we are not the parent of is gone; false after 10 s.
bool wait_until_gone(pid_t pid) {
  const UniqueFd pidfd(::pidfd_open(pid, 0));
  if (!pidfd) return true;
  pollfd watched{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&watched, 1, 10'000) == 1;
}

TEST(Run, GivesInputAndReturnsBothOutputsAndTheStatus) {
  auto result = run({"sh", "-c", "cat; echo trouble >&2; exit 3"}, {.stdin_text = "hello\n"});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->out, "hello\n");
  EXPECT_EQ(result->err, "trouble\n");
  EXPECT_EQ(result->status, (ExitStatus{.code = 3}));
  EXPECT_EQ(result->status.to_string(), "exit code 3");
}

TEST(Run, GivesNoInputWhereNoneIsGiven) {
  auto result = run({"cat"});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->out, "");
  EXPECT_TRUE(result->status.success());
}

TEST(Run, CarriesMoreThanAPipeHoldsInBothDirections) {
  const std::string large(std::size_t{1} << 20, 'x');
  auto result = run({"cat"}, {.stdin_text = large});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->out, large);
}

TEST(Run, NamesTheSignalThatEndedTheProgram) {
  auto result = run({"sh", "-c", "kill -SEGV $$"});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->status, (ExitStatus{.signal = SIGSEGV}));
  EXPECT_EQ(result->status.to_string(), "signal 11 (Segmentation fault)");
}

TEST(Run, NamesAToolThatIsMissing) {
  auto result = run({"no-such-tool-anywhere"});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::missing);
  EXPECT_EQ(result.error().message, "no-such-tool-anywhere: not found in PATH");
  EXPECT_FALSE(result.error().mend.empty());
}

TEST(Run, ReportsADirectoryThatIsNotThereBeforeTheProgramRuns) {
  auto result = run({"true"}, {.directory = "/no/such/directory"});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ENOENT);
  EXPECT_THAT(result.error().message, HasSubstr("/no/such/directory"));
}

TEST(Run, EndsAProgramThatTakesTooLongAndLeavesNoZombie) {
  const auto start = monotonic_now();
  auto result =
      run({"sh", "-c", "echo stuck here >&2; exec sleep 60"}, {.timeout = milliseconds(200)});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::timed_out);
  EXPECT_THAT(result.error().message, HasSubstr("stuck here"));
  EXPECT_LT(monotonic_now() - start, seconds(10));
  EXPECT_FALSE(has_children());
}

TEST(Run, EndsAProgramThatWritesWithoutEnd) {
  auto result = run({"yes"}, {.output_limit = 100'000});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("more than 100000 bytes"));
  EXPECT_FALSE(has_children());
}

TEST(Run, EndsWhenInterrupted) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd read(ends[0]), write(ends[1]);
  ASSERT_EQ(::write(write.get(), "x", 1), 1);
  auto result = run({"sleep", "60"}, {.interrupt_fd = read.get()});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::interrupted);
}

TEST(Run, DoesNotWaitForADaemonThatKeepsTheOutputOpenAndLeavesNoneBehind) {
  const auto start = monotonic_now();
  auto result = run({"sh", "-c", "sleep 60 & echo $!"});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_LT(monotonic_now() - start, seconds(10));
  EXPECT_TRUE(wait_until_gone(std::stoi(result->out)));
}

TEST(Run, ForOutputTurnsAFailureIntoAnErrorWithItsLastWords) {
  auto result = run_for_output({"sh", "-c", "echo syntax error >&2; exit 1"});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::system);
  EXPECT_THAT(result.error().message, HasSubstr("exit code 1: syntax error"));
  EXPECT_EQ(run_for_output({"echo", "fine"}).value(), "fine\n");
}

TEST(Spawn, RunsTheHookInTheChildAndCarriesItsErrorBack) {
  auto refused = run({"true"}, {.before_exec = []() -> Result<> {
                       return fail_with_mend(ErrorKind::not_permitted, "no namespaces here", "");
                     }});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::not_permitted);
  EXPECT_EQ(refused.error().message, "no namespaces here");
  EXPECT_FALSE(has_children());

  auto done = run_for_output({"sh", "-c", "umask"}, {.before_exec = []() -> Result<> {
                               ::umask(0123);
                               return {};
                             }});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_THAT(*done, HasSubstr("123"));
}

TEST(Spawn, LetsTheChildSeeOnlyItsStandardDescriptors) {
  // Planted: a descriptor some library opened without close-on-exec.
  const UniqueFd leaked(::fcntl(STDIN_FILENO, F_DUPFD, 100));
  ASSERT_TRUE(leaked);
  auto listing = run_for_output({"sh", "-c", "echo /proc/$$/fd/*"});
  ASSERT_TRUE(listing) << listing.error().message;
  EXPECT_THAT(*listing, HasSubstr("/fd/2"));
  EXPECT_THAT(*listing, testing::Not(HasSubstr(fmt::format("/fd/{}", leaked.get()))));
}

TEST(Spawn, GivesTheChildAnEmptySignalMaskAndSigpipe) {
  sigset_t blocked, before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
  auto status = run_for_output({"cat", "/proc/self/status"});
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_THAT(*status, HasSubstr("SigBlk:\t0000000000000000"));
}

TEST(Spawn, GivesTheEnvironmentItWasTold) {
  auto output = run_for_output({"/usr/bin/env"}, {.environment = {{"ONLY=this"}}});
  ASSERT_TRUE(output) << output.error().message;
  EXPECT_EQ(*output, "ONLY=this\n");
}

TEST(Spawn, ConnectsPipesAndLeaksNoDescriptor) {
  const std::size_t before = open_descriptors();
  {
    auto process = Process::spawn({.argv = {"cat"}, .in = Stdio::pipe(), .out = Stdio::pipe()});
    ASSERT_TRUE(process) << process.error().message;
    ASSERT_EQ(::write(process->in.get(), "ping", 4), 4);
    std::array<char, 8> answer{};
    ASSERT_EQ(::read(process->out.get(), answer.data(), answer.size()), 4);
    EXPECT_STREQ(answer.data(), "ping");
    EXPECT_FALSE(process->err);

    EXPECT_EQ(process->wait(milliseconds(0)).error().kind, ErrorKind::timed_out);
    process->in.reset();
    auto status = process->wait(seconds(10));
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_TRUE(status->success());
    EXPECT_EQ(process->wait(milliseconds(0)).value(), *status);
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(Process, IsKilledWithItsGroupWhenItsHandleGoes) {
  pid_t grandchild = 0;
  {
    auto process =
        Process::spawn({.argv = {"sh", "-c", "sleep 60 & echo $!; wait"}, .out = Stdio::pipe()});
    ASSERT_TRUE(process) << process.error().message;
    std::array<char, 32> line{};
    ASSERT_GT(::read(process->out.get(), line.data(), line.size() - 1), 0);
    grandchild = std::stoi(line.data());
    auto moved = std::move(*process);
    EXPECT_EQ(process->pid(), -1);
    EXPECT_GT(moved.pid(), 0);
  }
  EXPECT_TRUE(wait_until_gone(grandchild));
  EXPECT_FALSE(has_children());
}

TEST(Process, TakesASignalAndSaysHowItEnded) {
  auto process = Process::spawn({.argv = {"sleep", "60"}});
  ASSERT_TRUE(process) << process.error().message;
  ASSERT_TRUE(process->signal(SIGTERM));
  EXPECT_EQ(process->wait(seconds(10)).value(), (ExitStatus{.signal = SIGTERM}));
  EXPECT_TRUE(process->signal(SIGTERM));
}

TEST(Process, DiesWithAParentThatIsKilled) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd read(ends[0]);
  UniqueFd write(ends[1]);
  const pid_t parent = ::fork();
  ASSERT_GE(parent, 0);
  if (parent == 0) {
    auto process = Process::spawn({.argv = {"sleep", "60"}});
    const pid_t pid = process ? process->pid() : -1;
    if (::write(write.get(), &pid, sizeof(pid)) != sizeof(pid)) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  write.reset();
  pid_t child = -1;
  ASSERT_EQ(::read(read.get(), &child, sizeof(child)), static_cast<ssize_t>(sizeof(child)));
  ASSERT_GT(child, 0);
  ASSERT_EQ(::kill(child, 0), 0);
  ASSERT_EQ(::kill(parent, SIGKILL), 0);
  ASSERT_EQ(::waitpid(parent, nullptr, 0), parent);
  EXPECT_TRUE(wait_until_gone(child));
}

TEST(FindProgram, TakesAPathAsItIsAndRefusesWhatCannotRun) {
  EXPECT_EQ(find_program("/bin/sh").value(), "/bin/sh");
  EXPECT_THAT(find_program("sh").value(), testing::EndsWith("/sh"));
  EXPECT_EQ(find_program("/etc/passwd").error().kind, ErrorKind::missing);
  EXPECT_EQ(find_program("").error().kind, ErrorKind::missing);
}

}  // namespace
}  // namespace base
