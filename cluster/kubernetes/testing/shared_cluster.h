// The real cluster that tests share, as ctest names it (the fixture `kubernetes`) or whoever calls
// them: $STACKBENCH_TEST_KUBECONFIG, none where that is empty. $STACKBENCH_TEST_KUBECTL: kubectl,
// if that is not in PATH; $STACKBENCH_TEST_IMAGE: the agent's image, if it is not the default,
// which its nodes have.
#pragma once

#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/process.h"
#include "cluster/kubernetes/kubernetes_target.h"
#include "cluster/kubernetes/testing/left_behind.h"

namespace cluster::testing {

inline KubernetesOptions shared_cluster() {
  const auto from_environment = [](const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
  };
  return {.kubectl = from_environment("STACKBENCH_TEST_KUBECTL"),
          .kubeconfig = from_environment("STACKBENCH_TEST_KUBECONFIG"),
          .agent_image = from_environment("STACKBENCH_TEST_IMAGE")};
}

// A namespace that is there while a program's tests run. The namespace of a run's own goes at its
// end, and Kubernetes waits five seconds before it begins with that: too long for every test.
class SharedNamespace : public ::testing::Test {
 protected:
  // Of this program: that of the one before may still be going.
  static inline const std::string shared_namespace = fmt::format("stackbench-tests-{}", ::getpid());

  static void SetUpTestSuite() { kubectl({"create", "namespace", shared_namespace}); }
  static void TearDownTestSuite() {
    kubectl({"delete", "namespace", shared_namespace, "--wait=false"});
  }

  static KubernetesOptions in_shared_namespace() {
    auto options = shared_cluster();
    options.in_namespace = shared_namespace;
    return options;
  }
  // For the end of a test, after its target is taken down.
  static void expect_nothing_left() {
    if (!shared_cluster().kubeconfig.empty()) EXPECT_EQ(left_behind(kubectl_words()), "");
  }

 private:
  static std::vector<std::string> kubectl_words() {
    const auto options = shared_cluster();
    return {options.kubectl.empty() ? "kubectl" : options.kubectl, "--kubeconfig",
            options.kubeconfig};
  }
  static void kubectl(const std::vector<std::string>& words) {
    if (shared_cluster().kubeconfig.empty()) return;
    auto all = kubectl_words();
    all.insert(all.end(), words.begin(), words.end());
    const auto done = base::run_for_output(all, {.timeout = std::chrono::minutes(1)});
    EXPECT_TRUE(done) << base::describe_error(done.error());
  }
};

}  // namespace cluster::testing
