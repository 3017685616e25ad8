/*
 * standby.pml
 *		A mirror that was loaded during recovery: what of it is complete, refreshes,
 *		and the one after promotion that makes an ordinary mirror of it.
 *
 * MODEL						SOURCE
 *	redo						replay of inserts: a node's id (metapage); its code and
 *								links (one record); the link to it from node 0, which
 *								has room for one and drops the one before; the entry
 *								point (metapage).  Each raises the LSN of its page.
 *	writer						an insert's last step after promotion, with KnnPublish
 *	loader						KnnMirrorLoad and later KnnMirrorRefresh: loaded_to,
 *								cover_all, copy_all, set_complete	(cache/load.c)
 *	reader						KnnMirrorBeginSearch, get_mode		(cache/search.c)
 *								and set_columns, queue_tail			(am/hnsw_mirror.c,
 *																	hnsw_scan.c)
 *
 * Node 0 has been there for ever.  Nodes 1 and 2 are inserted while the mirror is
 * made and refreshed.  Every node links to node 0 alone.
 *
 * PROPERTIES.  Of a standby's mirror a search uses the nodes below complete and
 * begins at entry; the others it looks up by number, in pages.  So all nodes below
 * complete are within its view and have their codes, and entry is one of these.
 * After promotion, with recovery = 0, it may begin at the metapage's entry and
 * follow any link; and at the end the mirror equals the pages.
 *
 * The source keeps a list of the loose nodes, which no link in the mirror leads to,
 * instead of ending at the first of them, and reads list, complete and entry under a
 * version as in progress.pml.  The nodes from complete on are here what the loose and
 * the newer ones are there: looked up by number.
 *
 * WEAK ORDER (arm64).  complete is stored before entry and read after it, with a
 * barrier between on either side; the view is extended when both have been read.
 * COMPLETE_ORDER and EXTEND are what happens without.
 *
 * MUTATIONS
 *	BREAK_COPY_ORDER	codes are copied before links: a node whose insert is replayed
 *						between has a link to it and no code
 *	BREAK_LINKED		nodes count as complete without a look at their links
 *	BREAK_MONOTONE		complete falls when a node has lost its last link, below
 *						the entry point
 *	BREAK_COMPLETE_ORDER	entry is stored before complete
 *	BREAK_EXTEND		a reader extends its view before it reads complete
 *	BREAK_LOADED_TO		the position of replay is read when pages are copied
 *	BREAK_RECOVERY		a mirror is made an ordinary one before the copy
 *	BREAK_PUBLISH		a writer does not follow a mirror made during recovery
 */
#define NONE 3
#define NN 3

/* pages: of the metapage, of each node's code and links, of node 0's links */
byte used = 1;
byte entry;
bit code[NN];
bit own_link[NN];				/* of node n to node 0 */
byte back = NONE;				/* node 0's link */
byte code_lsn[NN];
byte back_lsn;
byte lsn;						/* replayed to */
bit page_locked;				/* that of the record being replayed, or written */
bit promoted;

/* the mirror */
bit known;						/* LOADING or READY */
bit ready;
byte units;
bit m_code[NN];
bit m_own_link[NN];
byte m_back = NONE;
byte m_complete;
byte m_entry = NONE;
bit recovery;
byte ended;

proctype redo()
{
	byte n = 1;

	do
	:: n < NN ->
		used = n + 1;
		lsn++;
		/* write_node */
		atomic { code[n] = 1; own_link[n] = 1; code_lsn[n] = lsn + 1 }
		lsn++;
		/* apply_record; the last one may be left to the writer */
		if
		:: n == 2 -> break
		:: true ->
			atomic { back = n; back_lsn = lsn + 1 }
			lsn++;
			entry = n;
			lsn++
		fi;
		n++
	:: else -> break
	od;
	promoted = 1;

	/* the writer: under the page's lock, with the mirror if there is one */
	atomic { !page_locked -> page_locked = 1 }
	back = 2;
	back_lsn = lsn + 1;
#ifdef BREAK_PUBLISH
	if
	:: known && !recovery -> m_back = 2
	:: else
	fi;
#else
	if
	:: known -> m_back = 2
	:: else
	fi;
#endif
	page_locked = 0;
	ended++
}

inline copy_links()
{
	atomic {
		!page_locked;
		if
		:: since == 0 || back_lsn > since -> m_back = back
		:: else
		fi
	}
	n = 1;
	do
	:: n < count ->
		atomic {
			if
			:: since == 0 || code_lsn[n] > since -> m_own_link[n] = own_link[n]
			:: else
			fi;
			n++
		}
	:: else -> break
	od;
	n = 0
}

inline copy_codes()
{
	n = 1;
	do
	:: n < count ->
		atomic {
			if
			:: since == 0 || code_lsn[n] > since -> m_code[n] = code[n]
			:: else
			fi;
			n++
		}
	:: else -> break
	od;
	n = 0
}

/* is_linked */
#define LINKED(id) (m_own_link[id] && m_back == id)

inline set_complete()
{
	d_step {
#ifdef BREAK_MONOTONE
		n = 1;
#else
		n = (m_complete > 1 -> m_complete : 1);
#endif
		do
#ifdef BREAK_LINKED
		:: n < count -> n++
#else
		:: n < count && LINKED(n) -> n++
#endif
		:: else -> break
		od;
	}
#ifdef BREAK_COMPLETE_ORDER
	if
	:: meta_entry < n -> m_entry = meta_entry
	:: else
	fi;
	m_complete = n;
#else
	m_complete = n;
	if
	:: meta_entry < n -> m_entry = meta_entry
	:: else
	fi;
#endif
	n = 0
}

proctype loader(byte times)
{
	byte n, count, meta_entry, since, loaded_to, replayed;
	bit in_recovery;

	do
	:: times > 0 ->
		in_recovery = !promoted;
#ifndef BREAK_LOADED_TO
		replayed = lsn;
#endif
		if
		:: !ready -> recovery = in_recovery; known = 1
		:: ready && !recovery -> break	/* an ordinary one by now */
		:: else
		fi;
#ifdef BREAK_RECOVERY
		if
		:: !in_recovery -> recovery = 0
		:: else
		fi;
#endif
		/* cover_all: the metapage is locked */
		atomic { count = used; meta_entry = entry }
		units = count;
#ifdef BREAK_COPY_ORDER
		copy_codes();
		copy_links();
#else
		copy_links();
		copy_codes();
#endif
#ifdef BREAK_LOADED_TO
		replayed = lsn;
#endif
		if
		:: !ready ->
			if
			:: recovery -> loaded_to = replayed; set_complete()
			:: else
			fi;
			ready = 1
		:: else ->
			if
			:: in_recovery -> loaded_to = replayed; set_complete()
			:: else -> recovery = 0
			fi
		fi;
		since = loaded_to;
		times--
	:: else -> break
	od;
	ended++
}

proctype reader()
{
	byte start, count, n, meta_entry;
	bit standby;

	if
	:: ready ->
		meta_entry = entry;		/* KnnStoreOpen */
#ifdef BREAK_EXTEND
		n = units;
#endif
		start = m_entry;
		standby = recovery;
		count = m_complete;
#ifndef BREAK_EXTEND
		n = units;
#endif
		if
		:: standby ->
			assert(start == NONE || start < count);
			assert(count <= n);
			assert(count < 2 || m_code[1]);
			assert(count < 3 || m_code[2]);
		:: else ->
			assert(meta_entry < n);
			start = m_back;
			/* grow, where it is needed */
			assert(start == NONE || start < units);
			assert(start == NONE || start == 0 || m_code[start])
		fi
	:: ended >= 2
	fi;
	ended++
}

init
{
	byte n;

	atomic {
		code[0] = 1;
		m_code[0] = 1;
		run redo();
		run reader();
		run loader(2)
	}
	ended == 3;
	atomic {
		if
		:: ready && !recovery ->
			assert(units == used && m_back == back);
			n = 1;
			do
			:: n < used -> assert(m_code[n] == code[n]); n++
			:: else -> break
			od
		:: else
		fi
	}
}
