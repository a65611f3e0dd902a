#include "cluster/kubernetes/kubectl_proxy.h"

#include <cstdlib>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/testing/fake_api_server.h"

namespace cluster {
namespace {

using base::ErrorKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace fs = std::filesystem;

// With a TMPDIR of the test's own.
class KubectlProxyTest : public ::testing::Test {
 protected:
  KubectlProxyTest() {
    if (::mkdtemp(directory_.data()) == nullptr) std::abort();
    ::setenv("TMPDIR", directory_.c_str(), 1);
  }
  ~KubectlProxyTest() override {
    ::unsetenv("TMPDIR");
    fs::remove_all(directory_);
  }
  // A kubectl that does this.
  std::string kubectl(const std::string& text) {
    const auto path = directory_ + "/kubectl";
    EXPECT_TRUE(base::write_file(path, "#!/bin/sh\n" + text));
    ::chmod(path.c_str(), 0700);
    return path;
  }
  [[nodiscard]] std::vector<std::string> sockets() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(directory_)) {
      const auto name = entry.path().filename().string();
      if (name.starts_with("stackbench-api-")) found.push_back(name);
    }
    return found;
  }

  testing::FakeApiServer server_;
  std::string directory_ = "/tmp/kubectl-proxy-XXXXXX";
};

TEST_F(KubectlProxyTest, ListensWhereOnlyWeMayAndGoesWithItsObject) {
  {
    auto proxy = KubectlProxy::start({.kubectl = server_.kubectl()}, nullptr);
    ASSERT_TRUE(proxy) << proxy.error().message;
    struct stat status{};
    ASSERT_EQ(::stat(fs::path(proxy->socket()).parent_path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0700U);
    ApiClient api({.socket = proxy->socket()});
    EXPECT_TRUE(api.get("/version"));
  }
  EXPECT_THAT(sockets(), IsEmpty());
}

TEST_F(KubectlProxyTest, PassesOnWhichClusterAndOpensExec) {
  const auto proxy = KubectlProxy::start(
      {.kubectl = kubectl("echo \"$@\" > $TMPDIR/words\necho Starting to serve on x\n"),
       .kubeconfig = "/a b",
       .context = "c"},
      nullptr);
  ASSERT_TRUE(proxy) << proxy.error().message;
  EXPECT_EQ(base::read_file(directory_ + "/words").value_or(""),
            "--kubeconfig=/a b --context=c proxy --unix-socket=" + proxy->socket() +
                " --reject-paths=^$\n");
}

TEST_F(KubectlProxyTest, WhatKubectlSaysOfTheContextIsTheError) {
  const auto proxy =
      KubectlProxy::start({.kubectl = server_.kubectl(), .context = "nowhere"}, nullptr);
  ASSERT_FALSE(proxy);
  EXPECT_EQ(proxy.error().kind, ErrorKind::input);
  EXPECT_EQ(proxy.error().message,
            "kubectl proxy ended (exit code 1): error: context \"nowhere\" does not exist");
  EXPECT_THAT(proxy.error().mend, HasSubstr("get-contexts"));
  EXPECT_THAT(sockets(), IsEmpty());
}

TEST_F(KubectlProxyTest, WithoutKubectlItSaysWhatToInstall) {
  const auto proxy = KubectlProxy::start({.kubectl = "/nowhere/kubectl"}, nullptr);
  ASSERT_FALSE(proxy);
  EXPECT_THAT(proxy.error().message, HasSubstr("/nowhere/kubectl"));
}

TEST_F(KubectlProxyTest, ExplainsErrorsByItsEnd) {
  auto proxy = KubectlProxy::start({.kubectl = kubectl("echo Starting to serve on x\nread line\n"
                                                       "echo 'token expired' >&2\nexit 7\n")},
                                   nullptr);
  ASSERT_TRUE(proxy) << proxy.error().message;
  // It has no stdin to read from, and so it ends.
  std::string message;
  const auto deadline = base::monotonic_now() + std::chrono::seconds(5);
  while (message.find("ended") == std::string::npos && base::monotonic_now() < deadline) {
    message = proxy->explain({.message = "no answer"}).message;
  }
  EXPECT_EQ(message, "no answer; kubectl proxy has ended (exit code 7): token expired");
}

TEST_F(KubectlProxyTest, CleanFindsTheDirectoriesOfRunsThatAreGone) {
  // Above what a pid may be: nobody's.
  const auto dead = directory_ + "/stackbench-api-4194305-abcdef";
  fs::create_directory(dead);
  fs::create_directory(directory_ + "/stackbench-api-x");
  const auto proxy = KubectlProxy::start({.kubectl = server_.kubectl()}, nullptr);
  ASSERT_TRUE(proxy) << proxy.error().message;
  const auto would = clean_proxies(true);
  ASSERT_TRUE(would) << would.error().message;
  EXPECT_THAT(*would, ElementsAre("socket of an ended run: " + dead));
  EXPECT_TRUE(fs::exists(dead));
  ASSERT_TRUE(clean_proxies(false));
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(proxy->socket()));
  EXPECT_THAT(clean_proxies(false).value_or(std::vector<std::string>{"?"}), IsEmpty());
}

}  // namespace
}  // namespace cluster
