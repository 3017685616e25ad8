/*
 * pins.pml
 *		Pins (hazard pointers) against discarding a mirror and reusing its
 *		descriptor and its units; see src/cache/area.h.
 *
 * MODEL						SOURCE
 *	lock						KnnCache->lock
 *	look_up						KnnMirrorViewOf, view_make		(cache/mirror.c)
 *	pin_mirror					pin_place + KnnMirrorRepin, pin_unless_going
 *	unpin						unpin_place
 *	discard						KnnCacheDiscard + is_pinned + free_if_unpinned
 *														(cache/evict.c)
 *	user						a scan (wants READY), a change (LOADING does too)
 *	loader						prepare, zero_units, load_pages, end_loading
 *														(cache/load.c)
 *	evictor						remove_matching, KnnCacheMakeRoom, KnnCacheMaintain
 *
 * Two descriptors, two units, of which a mirror takes one, and two indexes: users
 * are interested in index 0, the loader loads either.  A user keeps what it has
 * found from one use to the next, as long as the epoch is the same.
 *
 * PROPERTIES.  Who uses a unit by a view that it has pinned finds it owned by that
 * mirror in that use of the descriptor.  At the end nothing is lost.
 *
 * Steps are sequentially consistent.  Barriers are modelled by the mutations that
 * leave them out: the two accesses that the barrier keeps apart change places.
 *
 * MUTATIONS
 *	BREAK_RECHECK		a pin is taken without looking whether the mirror is there
 *	BREAK_PIN_BARRIER	the look passes the pin (no barrier in pin_place)
 *	BREAK_DISCARD_BARRIER	pins are looked at before the mirror is marked (no
 *						barrier in KnnCacheDiscard)
 *	BREAK_GENERATION	the state is looked at, not whose it is
 *	BREAK_UNPIN_BARRIER	the last access passes the end of the pin (no barrier
 *						in unpin_place)
 *	BREAK_PREPARED		who removes an index removes one that is being zeroed too
 */
#define NM 2
#define NU 2
#ifndef NUSERS
#define NUSERS 1
#endif
#define NP (NUSERS + 1)					/* users and the loader */
#define LOADER NUSERS
#define NONE 3

#define FREE 0
#define PREPARED 1
#define LOADING 2
#define READY 3
#define GOING 4

byte state[NM];
byte gen[NM];
byte index_of[NM];
byte unit_of[NM];

byte owner[NU];					/* mirror + 1, 0: free */
byte owner_gen[NU];

byte pins[NP];					/* mirror + 1 */
bit lock;
byte epoch = 1;
byte ended;

#define ACQUIRE atomic { lock == 0 -> lock = 1 }
#define RELEASE lock = 0

/* is the unit that a view knows still the one of its mirror? */
#define OWN assert(owner[vu] == vm + 1 && owner_gen[vu] == vg)

inline look_up(wants_loading)
{
	e = epoch;
	if
	:: e == ve -> skip
	:: else ->
		atomic {
			lock == 0;
			vm = NONE;
			m = 0;
			do
			:: m < NM ->
				if
				:: index_of[m] == 0 && (state[m] == LOADING || state[m] == READY) ->
					vm = m; vg = gen[m]; vu = unit_of[m]
				:: else
				fi;
				m++
			:: else -> break
			od;
			ve = e;
			m = 0
		}
	fi;
	/* a view of a load is of no use to a scan */
	if
	:: vm != NONE && !wants_loading && state[vm] != READY -> found = 0
	:: else -> found = (vm != NONE)
	fi
}

inline looks_right(wants_loading)
{
	ok = 1;
#ifndef BREAK_GENERATION
	if
	:: gen[vm] != vg -> ok = 0
	:: else
	fi;
#endif
	s = state[vm];
	ok = ok && (s == READY || (wants_loading && s == LOADING));
	s = 0
}

inline pin_mirror(p, wants_loading)
{
#if defined(BREAK_RECHECK)
	pins[p] = vm + 1;
	ok = 1
#elif defined(BREAK_PIN_BARRIER)
	looks_right(wants_loading);
	pins[p] = vm + 1
#else
	pins[p] = vm + 1;
	looks_right(wants_loading)
#endif
}

inline unpin(p)
{
	pins[p] = 0
}

inline mark(d)
{
	gen[d] = gen[d] + 1;
	state[d] = GOING;
	epoch = epoch + 1
}

inline look_for_pins(d)
{
	pinned = 0;
	b = 0;
	do
	:: b < NP ->
		pinned = pinned || (pins[b] == d + 1);
		b++
	:: else -> break
	od;
	b = 0
}

/* under the lock */
inline discard(d)
{
#ifdef BREAK_DISCARD_BARRIER
	look_for_pins(d);
	mark(d);
#else
	mark(d);
	look_for_pins(d);
#endif
	if
	:: !pinned ->
		atomic {
			owner[unit_of[d]] = 0;
			index_of[d] = NONE;
			state[d] = FREE
		}
	:: else
	fi;
	pinned = 0
}

proctype user(byte p; bit writes)
{
	byte vm = NONE, vg, vu, ve, e, m, s, uses;
	bit ok, found;

	do
	:: uses < 2 ->
		look_up(writes);
		if
		:: found ->
			pin_mirror(p, writes);
			if
			:: ok ->
				OWN;
#ifdef BREAK_UNPIN_BARRIER
				unpin(p);
				OWN
#else
				OWN;
				unpin(p)
#endif
			:: else -> unpin(p)
			fi
		:: else
		fi;
		uses++
	:: else -> break
	od;
	ended++
}

proctype loader(byte loads)
{
	byte vm, vg, vu, b, m, s;
	bit ok, pinned;

	do
	:: loads > 0 ->
		/* prepare: a descriptor and a unit, where there are any */
		ACQUIRE;
		if
		:: state[0] == GOING -> discard(0)
		:: else
		fi;
		if
		:: state[1] == GOING -> discard(1)
		:: else
		fi;
		atomic {
			vm = NONE;
			if
			:: state[0] == FREE -> vm = 0
			:: state[1] == FREE -> vm = 1
			:: else
			fi;
			vu = NONE;
			if
			:: owner[0] == 0 -> vu = 0
			:: owner[1] == 0 -> vu = 1
			:: else
			fi
		}
		if
		:: vm != NONE && vu != NONE ->
			state[vm] = PREPARED;
			gen[vm] = gen[vm] + 1;
			atomic {
				vg = gen[vm];
				/* one mirror an index */
				if
				:: index_of[1 - vm] != 0 -> index_of[vm] = 0
				:: index_of[1 - vm] != 1 -> index_of[vm] = 1
				fi;
				unit_of[vm] = vu;
				owner[vu] = vm + 1;
				owner_gen[vu] = vg
			}
			RELEASE;

			/* zero_units: without a pin, the state protects it */
			OWN;
			atomic {
				lock == 0;
				state[vm] = LOADING;
				epoch = epoch + 1
			}
			pin_mirror(LOADER, 1);
			if
			:: ok ->
				OWN;
				OWN
			:: else
			fi;
			unpin(LOADER);
			/* end_loading */
			atomic {
				lock == 0;
				if
				:: gen[vm] == vg -> state[vm] = READY
				:: else
				fi
			}
		:: else -> RELEASE
		fi;
		loads--
	:: else -> break
	od;
	ended++
}

#ifdef BREAK_PREPARED
#define REMOVABLE(d) (state[d] == PREPARED || state[d] == LOADING || state[d] == READY)
#else
#define REMOVABLE(d) (state[d] == LOADING || state[d] == READY)
#endif

proctype evictor(byte times)
{
	byte b, d;
	bit pinned;

	do
	:: times > 0 ->
		ACQUIRE;
		if
		:: REMOVABLE(0) || state[0] == GOING -> discard(0)
		:: REMOVABLE(1) || state[1] == GOING -> discard(1)
		:: else
		fi;
		RELEASE;
		times--
	:: else -> break
	od;
	/* everybody has gone home: all that was discarded can be freed */
	ended == NUSERS + 1;
	ACQUIRE;
	do
	:: d < NM ->
		if
		:: state[d] != FREE -> discard(d)
		:: else
		fi;
		assert(state[d] == FREE);
		d++
	:: else -> break
	od;
	assert(owner[0] == 0 && owner[1] == 0);
	RELEASE
}

init
{
	atomic {
		/* index 0 is in the cache */
		state[0] = READY; index_of[0] = 0; unit_of[0] = 0; gen[0] = 1;
		owner[0] = 1; owner_gen[0] = 1;
		index_of[1] = NONE;
		if
		:: run user(0, 0)
		:: run user(0, 1)
		fi;
		run loader(2);
		run evictor(2)
	}
}
