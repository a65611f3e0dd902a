// What owns an object of a C library: std::unique_ptr<BIO, base::Freed<BIO_free>>.
#pragma once

namespace base {

// Gives the object to the library's own function.
template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

}  // namespace base
