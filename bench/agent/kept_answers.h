// What an agent said to its controller's commands, kept until the controller is known to have it: a
// stream can break with answers on their way, and they are then said again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bench/agent/protocol.h"

namespace bench {

// One session's answers. Without a session (its name is empty) nothing is kept.
class KeptAnswers {
 public:
  // `most_bytes`: what is kept at most. Beyond that the oldest results give way to an error that
  // says so.
  explicit KeptAnswers(std::size_t most_bytes) : most_bytes_(most_bytes) {}

  // Forgets everything and begins a session of that name.
  void begin(std::string session);
  [[nodiscard]] const std::string& session() const { return session_; }

  // Whether this session is past that id: a job that has it was begun before, and is not begun
  // again.
  [[nodiscard]] bool seen(std::uint64_t id) const;
  // From now on keeps what is said to this command.
  void open(std::uint64_t id);
  // Keeps a line that was said to command `id`; nothing when that is not open, or forgotten.
  void keep(std::uint64_t id, std::string_view line, bool last);
  // What was said to it so far.
  [[nodiscard]] std::string said(std::uint64_t id) const;

  // The controller has these: what is known of them goes, unless there is more to say of them.
  void received(const std::vector<std::uint64_t>& ids);

  // What a controller that comes back is to hear.
  struct Resumed {
    std::vector<std::uint64_t> unknown;   // of the outstanding: never arrived
    std::vector<std::uint64_t> given_up;  // not outstanding, and more is to come: jobs to stop
    std::string again;                    // the lines said to the others
  };
  // Forgets whatever is not outstanding.
  [[nodiscard]] Resumed resume(const std::vector<std::uint64_t>& outstanding);

  // What is held now, with an allowance for each command.
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  struct Answer {
    std::string lines;
    bool ended = false;
  };
  using Answers = std::map<std::uint64_t, Answer>;
  Answers::iterator forget(Answers::iterator answer);
  void make_room();

  std::size_t most_bytes_;
  std::string session_;
  Answers answers_;
  std::size_t bytes_ = 0;
  std::uint64_t last_id_ = 0;  // of the commands that were opened
};

}  // namespace bench
