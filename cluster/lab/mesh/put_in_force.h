// Rules put in force at a known instant.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/result.h"
#include "cluster/fabric/sandbox.h"

namespace cluster {

// Rules of one table that iptables-restore has been given, all but the line that puts them in
// force. Where that is never said nothing of them is.
class StagedRules {
 public:
  // `rules` end with COMMIT. Errors: missing (no iptables), system.
  static base::Result<StagedRules> stage(const Sandbox& sandbox, int netns,
                                         const std::string& rules);

  // Puts them in force, at once or at an instant, and returns when they were: as the kernel
  // announced it to that namespace (NFNLGRP_NFTABLES), or, where iptables is of the kind that
  // nothing announces, as the program ended. Once. Errors: system with the program's words.
  base::Result<base::MonotonicTime> put_in_force(std::optional<base::MonotonicTime> at = {});

 private:
  StagedRules(base::UniqueFd announced, base::Process restore)
      : announced_(std::move(announced)), restore_(std::move(restore)) {}

  base::UniqueFd announced_;
  base::Process restore_;
};

}  // namespace cluster
