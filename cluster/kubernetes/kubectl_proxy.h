// The child `kubectl proxy`: whatever a kubeconfig asks for to log in (certificates, tokens, exec
// plugins, OIDC) is kubectl's business, and what we talk to is a unix socket that only we may use.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/interrupt.h"
#include "base/process.h"
#include "base/result.h"

namespace cluster {

struct KubectlOptions {
  std::string kubectl = {};     // a path; empty: kubectl in PATH
  std::string kubeconfig = {};  // empty: as kubectl finds it
  std::string context = {};     // empty: the current one
};

// kubectl and the options that say which cluster: the beginning of every command line.
[[nodiscard]] std::vector<std::string> kubectl_command(const KubectlOptions& options);

// Its socket lies in a directory of its own, mode 0700 and locked, in TMPDIR (or /tmp). The child
// dies with us; the directory of a run that was killed is found by clean_proxies().
class KubectlProxy {
 public:
  // Returns once it listens; whether the cluster answers is not asked. Errors: missing (no
  // kubectl), input (what kubectl says of the kubeconfig or the context), timed_out, interrupted.
  static base::Result<KubectlProxy> start(const KubectlOptions& options,
                                          const base::Interrupt* interrupt);

  KubectlProxy(KubectlProxy&&) noexcept = default;
  KubectlProxy& operator=(KubectlProxy&&) = delete;
  KubectlProxy(const KubectlProxy&) = delete;
  KubectlProxy& operator=(const KubectlProxy&) = delete;
  // Ends the child and removes the directory.
  ~KubectlProxy();

  [[nodiscard]] std::string socket() const { return directory_ + "/api.sock"; }
  // The error, with how the child ended and what it said last, where it has ended.
  [[nodiscard]] base::Error explain(base::Error error);

 private:
  KubectlProxy(std::string directory, base::UniqueFd lock)
      : directory_(std::move(directory)), lock_(std::move(lock)) {}

  base::Result<> spawn(const KubectlOptions& options);
  base::Result<> await_listening(const base::Interrupt* interrupt);
  [[nodiscard]] std::string last_words() const;

  std::string directory_;  // empty once moved from
  base::UniqueFd lock_;    // flock(2) on the directory: this run is alive
  base::UniqueFd words_;   // what the child says, a file in memory
  std::unique_ptr<base::Process> child_;
};

// Removes the sockets' directories of runs that are gone, unless `dry_run`; a sentence for each.
// Errors: not_permitted, system.
[[nodiscard]] base::Result<std::vector<std::string>> clean_proxies(bool dry_run);

}  // namespace cluster
