// Declarations that the files of the HDF5 wrapper share.
#ifndef WYVERN_DATA_IO_HDF5_INTERNAL_H_
#define WYVERN_DATA_IO_HDF5_INTERNAL_H_

#include <hdf5.h>

#include <mutex>

namespace wyvern::hdf5_internal {

// Held in every member of Hdf5File. Each keeps the library's error stack off stderr, too: that is a
// setting of the thread.
class LibraryLock {
 public:
  LibraryLock() : lock_(Mutex()) { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

 private:
  // Recursive, since members use each other; never destroyed, since files may be closed at exit.
  static std::recursive_mutex& Mutex() {
    static auto* mutex = [] {
      // At exit the library would flush what a failed write left behind, and crash.
      H5dont_atexit();
      // A file must not bring in code (filters), nor lead to another file.
      H5PLset_loading_state(0);
      H5Lunregister(H5L_TYPE_EXTERNAL);
      return new std::recursive_mutex;
    }();
    return *mutex;
  }

  std::lock_guard<std::recursive_mutex> lock_;
};

class Handle {
 public:
  using Closer = herr_t (*)(hid_t);
  Handle(hid_t id, Closer closer) : id_(id), closer_(closer) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (id_ >= 0) closer_(id_);
  }
  hid_t get() const { return id_; }
  bool ok() const { return id_ >= 0; }

 private:
  hid_t id_;
  Closer closer_;
};

}  // namespace wyvern::hdf5_internal

#endif  // WYVERN_DATA_IO_HDF5_INTERNAL_H_
