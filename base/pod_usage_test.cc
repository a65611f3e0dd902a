#include "base/pod_usage.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace base {
namespace {

namespace fs = std::filesystem;
using testing::IsEmpty;

constexpr std::string_view one = "0f4b6a1e-1111-4222-8333-944444444444";
constexpr std::string_view other = "1f4b6a1e-1111-4222-8333-944444444444";

// A /proc of made-up processes.
class Proc {
 public:
  Proc() {
    std::string name = (fs::path(testing::TempDir()) / "proc-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Proc() { fs::remove_all(path_); }
  Proc(const Proc&) = delete;
  Proc& operator=(const Proc&) = delete;

  void add(int pid, int user, const std::string& cgroup, std::initializer_list<int> threads) const {
    const auto directory = path_ / std::to_string(pid);
    fs::create_directories(directory / "task");
    std::ofstream(directory / "status") << fmt::format("Name:\tenvoy\nUid:\t{0}\t{0}\n", user);
    std::ofstream(directory / "cgroup") << cgroup;
    std::ofstream(directory / "statm") << "900 10 4 1 0 3 0\n";
    for (const int cpu_ns : threads) {
      const auto task = directory / "task" / std::to_string(cpu_ns);
      fs::create_directories(task);
      std::ofstream(task / "schedstat") << fmt::format("{} 5 6\n", cpu_ns);
    }
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

TEST(PodUsage, IsOfOneUsersProcessesInThePodsCgroups) {
  const Proc proc;
  const auto v1 = fmt::format("9:cpuacct:/x/kubepods/burstable/pod{}/c1\n", one);
  auto with_underscores = std::string(other);
  std::ranges::replace(with_underscores, '-', '_');
  const auto v2 =
      fmt::format("0::/kubepods.slice/kubepods-pod{}.slice/cri-1.scope\n", with_underscores);
  proc.add(10, 1337, v1, {100, 200});
  proc.add(11, 1337, v1, {7});
  proc.add(12, 65532, v1, {1'000'000});  // the application
  proc.add(13, 1337, v2, {50});
  proc.add(14, 1337, "0::/system.slice\n", {9});
  fs::create_directories(fs::path(proc.path()) / "sys");

  const auto all = usage_of_pods({std::string(one), std::string(other), "2f4b"}, 1337, proc.path());
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all.at(std::string(one)).cpu_ns, 307);
  EXPECT_EQ(all.at(std::string(one)).processes, 2);
  EXPECT_EQ(all.at(std::string(one)).resident_bytes, 2 * 10 * ::sysconf(_SC_PAGESIZE));
  EXPECT_EQ(all.at(std::string(other)).cpu_ns, 50);
  EXPECT_THAT(usage_of_pods({"x"}, 1337, proc.path()), IsEmpty());
  EXPECT_THAT(usage_of_pods({std::string(one)}, 1337, "/nowhere"), IsEmpty());
}

}  // namespace
}  // namespace base
