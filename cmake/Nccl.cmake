# NCCL's header, of the installed library or else of the Python wheel, which is fetched once into the
# build tree. libnccl.so.2 itself is opened at run time, by runs on several GPUs alone.
set(WYVERN_NCCL_VERSION 2.28.9)
find_path(NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
if(NOT NCCL_INCLUDE)
  set(NCCL_DIR ${CMAKE_SOURCE_DIR}/build/_deps/nccl-${WYVERN_NCCL_VERSION})
  if(NOT EXISTS ${NCCL_DIR}/nvidia/nccl/include/nccl.h)
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
    message(STATUS "Fetching nvidia-nccl-cu13 ${WYVERN_NCCL_VERSION}")
    execute_process(
      COMMAND ${Python3_EXECUTABLE} -m pip download -q --no-deps -d ${NCCL_DIR}
              nvidia-nccl-cu13==${WYVERN_NCCL_VERSION}
      RESULT_VARIABLE FAILED)
    file(GLOB WHEEL ${NCCL_DIR}/*.whl)
    if(FAILED OR NOT WHEEL)
      message(FATAL_ERROR "NCCL's header is missing. Install libnccl-dev, or put nccl.h into "
                          "${NCCL_DIR}/nvidia/nccl/include.")
    endif()
    file(ARCHIVE_EXTRACT INPUT ${WHEEL} DESTINATION ${NCCL_DIR} PATTERNS */include/nccl.h)
    file(REMOVE ${WHEEL})
  endif()
  set(NCCL_INCLUDE ${NCCL_DIR}/nvidia/nccl/include CACHE PATH "NCCL's header" FORCE)
endif()
wyvern_imported(wyvern::nccl ${NCCL_INCLUDE} ${CMAKE_DL_LIBS})
